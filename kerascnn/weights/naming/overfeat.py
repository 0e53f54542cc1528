"""OverFeat: no public weights have other layer names than ours."""

__all__: list[str] = []

HEAD = ("fc6", "fc7", "fc8", "fc9")
