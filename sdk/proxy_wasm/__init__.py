"""Envoy and Istio filters written in plain Python."""
