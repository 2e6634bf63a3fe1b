"""Wire format: records, envelopes, ids and limits. Pure: no I/O, no clock."""
