"""What anyone who watches sees beside the status: last quotes, known gaps, events; read without disturbing anyone.
`tickbay top` and the web page share it.
"""
