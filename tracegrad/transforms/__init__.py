"""Function → Function transforms: differentiation, and cutting a function in two."""
