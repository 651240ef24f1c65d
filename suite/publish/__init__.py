"""Snapshots people can read: tables, figures and sentences made from rows. Nothing here computes a metric."""
