"""What tests of several parts share: private hosts, clusters, fakes with tests of their own."""
