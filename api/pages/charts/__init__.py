"""Pictures as SVG: pure functions from figures to markup. Colours come from the style sheet, by class."""
