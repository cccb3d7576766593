"""`--view` of commands on stored clips."""

from helpers import vitascope


def test_an_aggregator_is_for_probes() -> None:
    done = vitascope("plan", "a.mp4", "--view", "multiclip:2+agg=dct:5", code=2)
    assert "use --view multiclip:2 here, and -p knn+train=multiclip:2+test=multiclip:2+agg=dct:5" in done.stderr
