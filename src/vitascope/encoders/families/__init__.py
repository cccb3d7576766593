"""Model families, one discovered module of pure data per family; `family/variant` names one of its models."""
