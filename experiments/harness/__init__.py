"""What all studies share: cells are measured one after another, kept, and resumed.

Two kinds of study derive from `study.Study`: a `TrainingStudy` trains policies side by side, and a
`CreditStudy` scores credit assignments on test beds. The questions themselves are in
experiments/studies/, and what is printed and drawn comes from experiments/reports/.
"""
