"""Tables and phrases that several pages share."""
