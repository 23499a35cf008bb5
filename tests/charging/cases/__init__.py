"""Stories of accounts in text files (README.txt says how they are written), and the arithmetic that judges them."""
