"""Another messaging server under the same load, and the ratios of Palaver's figures to its figures."""
