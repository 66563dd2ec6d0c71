"""How good is an estimate?"""
