"""MotionLab's second version: creatures with limbs in a world with depth, seen by a moving camera, in three levels."""
