"""What a user would write instead of a command: one short script each, with numpy or torch and nothing of ours."""
