"""What stands behind notebooks 03 to 08: configurations, tables and findings of Figures 2 to 5 and Table 2."""
