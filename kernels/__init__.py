"""The simulators that ship with diffsim: physics only, no plotting and no training loops."""
