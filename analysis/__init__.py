"""What is reported: statistics, verdict, tables, figures. Needs neither Ray nor torch."""
