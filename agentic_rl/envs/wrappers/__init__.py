"""Tasks that wrap another task: one renames its tokens, the others ask the policy differently."""
