"""Images on their way in (`input`) and out (`output`)."""
