"""Development programs of kwsrt: training, conversion, evaluation. Not part of the installed package."""
