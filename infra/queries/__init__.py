"""Questions about the store in SQL; README.md beside this lists them."""
