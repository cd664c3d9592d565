"""Extensions of the book's builder."""
