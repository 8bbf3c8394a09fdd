"""Images on their way in (`input`) and out (`output`), and what a ControlNet takes made from them (`control`)."""
