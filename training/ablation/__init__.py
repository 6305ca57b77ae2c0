"""The paper's ablation study in small: tables 1, 2 and 4."""
