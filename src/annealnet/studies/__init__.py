"""Each paper's experiment with its baselines; the demo; the command line's longer work."""

#: Studies by name: module and function ``(out, data, seeds, say) -> document`` with the key ``text``.
STUDIES: dict[str, str] = {
    "wang2025": "annealnet.studies.wang2025:run_study",
    "zhang2025": "annealnet.studies.zhang2025:run_study",
    "sasdelli2021": "annealnet.studies.sasdelli2021:run_study",
    "whitaker2022": "annealnet.studies.whitaker2022:run_study",
}
