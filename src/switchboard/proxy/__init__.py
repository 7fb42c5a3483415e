"""Service addresses become packets: nftables with a constant number of rules. See DESIGN.md in this folder."""
