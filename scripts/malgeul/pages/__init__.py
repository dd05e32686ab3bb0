"""What all pages for people have in common: templates in which everything is escaped, numbers with units, the look."""
