"""What people look at: what a report shows is computed here, apart from how the page draws it."""
