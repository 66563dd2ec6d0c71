"""Assess estimates without ground truth: blind metrics, uncertainty, and the test for signal."""
