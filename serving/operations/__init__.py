"""Commands that examine and change what a server has: doctor, promote, rollback, load test."""
