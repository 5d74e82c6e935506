"""The only LightningModules: one file a training stage."""
