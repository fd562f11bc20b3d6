"""``python -m xnas_ray`` is ``xnas``."""

from xnas_ray.cli import main

main()
