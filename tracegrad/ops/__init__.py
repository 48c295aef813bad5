"""Operations, one declaration each, by family; importing this package fills the registry."""
