"""The demonstration, ``trayproxy demo``: the main job on one computer; nothing of yours is touched.

A small company network on loopback (`office`: a web site, and upstream proxies in front of it), a
temporary home for the real service and the real tray (`stage`), and two ways to see the main job:
played by itself and checked step by step (`story`), or done by the person (`guide`).

This room is a face that brings its own upstream: it imports `trayproxy.control`, the values that
the messages carry, and `trayproxy.paths`. The service and the tray are separate processes, started
as a person would start them.
"""
