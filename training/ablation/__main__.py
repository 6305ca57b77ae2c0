"""`python -m training.ablation`."""

import sys

from training.ablation.study import main

sys.exit(main())
