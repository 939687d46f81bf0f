"""The whole system under load and one random fault after another; its ledger must balance."""
