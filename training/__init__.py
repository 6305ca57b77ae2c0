"""Entry points of a checkout: a recipe's run, the demo, the ablation study."""
