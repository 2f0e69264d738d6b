"""What was used and what it cost: rows, the database that keeps them, budgets."""
