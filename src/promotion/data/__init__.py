"""Tables of rows: read strictly, held against the family's data contract, drawn apart once."""
