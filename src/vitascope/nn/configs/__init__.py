"""Network configs without torch, so that listing all encoders is fast."""
