"""The training wing: models taught from the merged dataset or from files of the user's, and measured."""
