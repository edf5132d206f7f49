"""A plugin for pytest: the first failure is enough. Hypothesis makes no shorter story of it, which takes minutes."""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("at once", phases=[Phase.explicit, Phase.generate], database=None, report_multiple_bugs=False)
settings.load_profile("at once")
