"""What came of a job, in the terminal and as one HTML page.

A job fills a `CompressionReport`, a plain value with JSON both ways; `print_report` and `write_html` show it.
"""

from annealnet.report.page import write_html
from annealnet.report.record import CompressionReport, LayerRow, MethodRow, Totals
from annealnet.report.tables import print_report
from annealnet.report.wording import certificate_in_words, headline

__all__ = [
    "CompressionReport",
    "LayerRow",
    "MethodRow",
    "Totals",
    "certificate_in_words",
    "headline",
    "print_report",
    "write_html",
]
