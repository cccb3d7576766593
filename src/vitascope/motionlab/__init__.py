"""MotionLab: a procedural benchmark whose appearance and motion are decorrelated by construction."""
