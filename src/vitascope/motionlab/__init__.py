"""MotionLab: a procedural benchmark in which appearance and motion are independent by construction."""
