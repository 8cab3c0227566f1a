"""The op table, by family. A row holds an op's parameters, shape and dtype rule, lowering and gradient together."""
