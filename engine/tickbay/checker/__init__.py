"""The process CHECKER: does the book that a feed records have the best prices that its ticker tells?"""
