"""The report of a turn: one HTML file that a person wants to read, drawn without any library."""

from volano.wheel.report._page import write_report

__all__ = ["write_report"]
