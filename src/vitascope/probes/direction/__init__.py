"""Whether clips in another version (reversed, shuffled, at other speeds) are told apart by their frozen vectors."""
