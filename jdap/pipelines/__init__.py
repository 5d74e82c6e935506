"""Inference in the diffusers manner: from_pretrained, call, save_pretrained."""
